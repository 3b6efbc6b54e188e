"""ImageNet's 1,000 classes by their WordNet ids, the names of its folders (n01440764 …).

Source: `imagenet_classes.tsv` is timm 1.0.31, `data/_info/imagenet_synsets.txt`, with the names
from `imagenet_synset_to_lemma.txt`. In the order of the ids it is the order of torchvision's
outputs; a test compares all names.
"""

from collections.abc import Collection
from pathlib import Path


def wordnet_ids() -> tuple[str, ...]:
    """Return the ids in the order of the labels of models trained on ImageNet."""
    table = Path(__file__).with_name("imagenet_classes.tsv").read_text(encoding="utf-8")
    return tuple(line.partition("\t")[0] for line in table.splitlines())


def are_wordnet_ids(names: Collection[str]) -> bool:
    return all(len(name) == 9 and name[0] == "n" and name[1:].isdecimal() for name in names)
