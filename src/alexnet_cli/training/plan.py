"""What a configuration comes to before an image is read, checked."""

from dataclasses import dataclass

from alexnet_cli.config import TrainConfig
from alexnet_cli.data.catalog import Dataset, find_dataset
from alexnet_cli.errors import UsageError
from alexnet_cli.manifest import NetworkSpec
from alexnet_cli.models.build import outline_network
from alexnet_cli.training.prepare import plan_network, require_fit, require_whole_batches
from alexnet_cli.training.pretrained import Pretrained, open_pretrained


@dataclass(frozen=True)
class Plan:
    """What will be trained.

    Attributes:
        dataset: What the images are taken from; a published one need not be downloaded yet.
        image_size_px: Side that images are resized to.
        network: The network, for the crops of the later epochs.
        pretrained: Weights to start from.
    """

    dataset: Dataset
    image_size_px: int
    network: NetworkSpec
    pretrained: Pretrained | None


def plan_run(config: TrainConfig, *, num_ranks: int = 1) -> Plan:
    """Check a configuration as far as it goes without images and devices.

    `alexnet train` does so before it reads the images, `--dry-run` does nothing else. What depends
    on the number of images is not covered: `--val-size`, and a last batch of a single image.

    Args:
        config: The run's configuration.
        num_ranks: Processes that share each batch.

    Raises:
        AlexnetError: There is no such dataset, folder or weights, or sizes, network and weights do
            not fit each other.
    """
    pretrained = _open_weights(config)
    dataset = find_dataset(config.data)
    image_size_px, network = plan_network(config, dataset)
    require_fit(config, network)
    if pretrained is not None:
        pretrained.left_out(outline_network(network), classes=dataset.classes)
    require_whole_batches(config, network, num_ranks=num_ranks)
    return Plan(dataset, image_size_px, network, pretrained)


def _open_weights(config: TrainConfig) -> Pretrained | None:
    if not config.from_weights:
        return None
    pretrained = open_pretrained(config.from_weights)
    own = pretrained.manifest.network.name
    if own is not config.model:
        raise UsageError(
            f"the weights {config.from_weights} are of {own}, not of {config.model}",
            hint=f"train --model {own}",
        )
    pretrained.require_switches(config)
    return pretrained
