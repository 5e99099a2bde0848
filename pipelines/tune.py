"""Searches for good settings, and writes the best as a configuration for the train script.

python pipelines/tune.py tagger --train a.conll --validation b.conll --space space.yaml --output saved_models/tuning
python pipelines/train_tagger.py --config saved_models/tuning/best.yaml

The space names settings, each with choices or a range:

    learning_rate: {low: 1e-4, high: 1e-2, log: true}
    encoder_size: [128, 256]
"""

from dataclasses import asdict

import nlp_rnn  # what needs TensorFlow is found on first use: wrong flags are told at once
from nlp_rnn import command_line


def main() -> None:
    run = command_line.parse_one_of(nlp_rnn.TUNE_RUNS, description=__doc__)
    tuned = nlp_rnn.tune(run, callbacks=lambda: [command_line.progress_bar()])
    command_line.print_json({**asdict(tuned), "config": str(tuned.config)})


if __name__ == "__main__":
    command_line.run(main)
