from alexnet_cli.cli.options import GROUPS
from alexnet_cli.config.schema import TrainConfig


def test_each_field_has_one_heading():
    grouped = [name for group in GROUPS.values() for name in group]
    assert sorted(grouped) == sorted(TrainConfig.model_fields)
