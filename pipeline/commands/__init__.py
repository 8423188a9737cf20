"""One file per verb of `tidewatch`. A verb reads its options, calls a wing, and says what came of it; it decides nothing else.

In: the command line. Out: lines, and an exit code: 0 done, 2 what the user can mend, 1 what was looked for was not there. `pipeline.cli`
lists the verbs and is where errors become lines.
"""
