"""``rmft-verl compare``: several recipes or runs over seeds -> one table, one figure (docs/compare.md).

arms       what is compared: ARM, label, overrides
runs       which run directory each arm has for each seed; the missing ones are trained
outcome    what a finished run says, read from its files
references the classical players on the same held-out scenarios
elsewhere  base and trained models on further targets
numbers    outcomes -> rows, with changes and their intervals
table      rows -> text, markdown, CSV, JSON
figure     outcomes -> one figure
command    the command line
"""
