"""MT-Bench: two-turn questions, graded answer by answer (arXiv:2306.05685)."""
