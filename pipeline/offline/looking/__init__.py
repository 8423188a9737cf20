"""What is in a data set, without training anything: `tidewatch look`.

Begin with `series`: times and numbers of one series; `seasons`: what comes again in it; `words` says it, `picture` draws it.
"""
