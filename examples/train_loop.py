"""The training loop of `alexnet train` on one page, from the same parts.

`python train_loop.py [CONFIG.toml]`, by default with the settings of `alexnet demo`. With the
same settings it reaches the same accuracy as `alexnet train --config CONFIG.toml`.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from alexnet_cli.config.recipes import demo_config
from alexnet_cli.config.schema import TrainConfig
from alexnet_cli.config.sources import read_config
from alexnet_cli.data.arrays import training_statistics
from alexnet_cli.data.batches import make_batches
from alexnet_cli.data.datasets import find_dataset, load_training
from alexnet_cli.evaluation.measure import predict_probabilities
from alexnet_cli.evaluation.metrics import summarise
from alexnet_cli.models.build import PixelNetwork, build_network, torch_logits
from alexnet_cli.training.device import resolve_device, resolve_precision
from alexnet_cli.training.optimizer import build_optimizer, set_learning_rate
from alexnet_cli.training.schedule import learning_rate
from alexnet_cli.training.setup import batch_settings, describe_model, resolve_sizes

config = TrainConfig(**read_config(Path(sys.argv[1]))) if len(sys.argv) > 1 else demo_config()
device = resolve_device("auto")
dtype = resolve_precision(config.precision, device)

dataset = find_dataset(config.data)
train, val = load_training(dataset, val_size=config.val_size, seed=config.seed)
size_px, crop_px = resolve_sizes(config, stored_px=dataset.image_size_px)
colours = training_statistics(train, size_px=size_px, seed=config.seed, num_workers=0)
manifest = describe_model(config, dataset, colours, num_val=len(val))
axes = colours.noise_axes(config.colour_noise) if config.colour_noise else ()
batches = make_batches(train, batch_settings(config, size_px, axes), device=device)

network = build_network(manifest.network, seed=config.seed, init=config.init)
network = network.to(device).to(memory_format=torch.channels_last)
model = PixelNetwork(network, manifest.input).to(device)
optimizer = build_optimizer(network, config)

step, val_top1 = 0, []
for epoch in range(config.epochs):
    model.train()
    for images, labels, noise in batches.epoch(epoch, crop_size_px=crop_px):
        lr = learning_rate(
            config, step=step, steps_per_epoch=batches.num_batches, val_top1=val_top1
        )
        set_learning_rate(optimizer, lr)
        torch.manual_seed((config.seed << 32) + step)  # of the dropout
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype, enabled=dtype != torch.float32):
            logits = model(images, noise)
        loss = F.cross_entropy(logits.float(), labels)
        loss.backward()
        optimizer.step()
        step += 1
    logits_of = torch_logits(model, device=device, dtype=dtype)
    probabilities = predict_probabilities(logits_of, val, manifest)
    result = summarise(probabilities, val.labels_N, classes=dataset.classes)
    val_top1.append(result.top1)
    print(f"epoch {epoch + 1}  lr {lr:.2g}  loss {loss:.3f}  val acc {result.top1:.2%}")
