"""The one scenario that is the core's own: a plain forward pass, with its probes and audits."""
