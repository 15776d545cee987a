"""The operators in plain PyTorch, which serve every device and type."""
