"""A run for other software: transformers, ONNX, torch.export, safetensors, with a model card."""
