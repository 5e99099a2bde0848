"""Trains a classifier and exports it.

python pipelines/train_classifier.py --train a.jsonl --validation b.jsonl --output saved_models/sentiment
python pipelines/train_classifier.py --config pipelines/configs/sst2.yaml --dataset imdb --output saved_models/imdb
"""

import nlp_rnn  # what needs TensorFlow is found on first use: wrong flags are told at once
from nlp_rnn import ClassifierRun, command_line


def main() -> None:
    run = command_line.parse(ClassifierRun, description=__doc__)
    trained = nlp_rnn.train(run, callbacks=[command_line.progress_bar()])
    command_line.print_json({"model": str(trained.folder), "version": str(trained.version), **trained.metrics})


if __name__ == "__main__":
    command_line.run(main)
