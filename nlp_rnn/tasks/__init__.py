"""Between a corpus and the train loop: what each family learns, and how it is measured."""
