"""The paper's own experiments, declared as data, carried out, and judged."""
