"""``rmft-verl compare``: several recipes or runs over seeds -> one table, one figure (docs/compare.md).

arms       what is compared: label, recipe, overrides
runs       the run directory of each arm and seed; missing runs are trained
results    the outcome of a finished run, read from its files
references the classical players on the same held-out scenarios
ood        base and trained models on further targets
habits     the best habit of a home-made base, on the same held-out scenarios
numbers    outcomes -> rows, with changes and their intervals
table      rows -> text, markdown, CSV, JSON
figure     outcomes -> one figure
curves     outcomes -> metrics after each update
evidence   small copies of the runs, stored beside the table
command    the command line
"""
