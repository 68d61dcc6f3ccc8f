//! Weights in and out: our own checkpoints, official `.pth` files, safetensors.
