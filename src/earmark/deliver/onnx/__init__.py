"""Export to ONNX: the network whole, front-end included, with parity and eight bits."""
