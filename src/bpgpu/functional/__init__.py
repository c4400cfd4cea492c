"""Functions of neural networks, named and called as in `torch.nn.functional`."""
