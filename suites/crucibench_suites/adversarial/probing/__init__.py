"""Evidence for the audits, collected from the model after the attacks: the stage `PROBE`.

It is the last stage of a cell, because only then is known what the attacks could not break, and
what they cost: probes ask about at most 100 samples, and cost at most a quarter of the attacks.
"""
