"""What scripts/make_graded_pairs.py makes its pairs with."""
