"""Settings and models that must learn before they judge: what is learnt of series, and who learns beside the one that judges.

`learning` is what a model and a threshold learn; `shadow` is a second one of it in the same state, and when that takes over.
"""
