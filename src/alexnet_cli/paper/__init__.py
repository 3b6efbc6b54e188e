"""The paper's experiments, repeated with several seeds and compared with its claims."""
