"""What perturbed texts and tables have in common: the scenario, its numbers, summary and audits."""
