"""Trains a tagger and exports it.

python pipelines/train_tagger.py --train a.conllu --validation b.conllu --tag-column upos --output saved_models/upos
python pipelines/train_tagger.py --config pipelines/configs/wnut17.yaml --train a.conll --validation b.conll
"""

import nlp_rnn  # what needs TensorFlow is found on first use: wrong flags are told at once
from nlp_rnn import TaggerRun, command_line


def main() -> None:
    run = command_line.parse(TaggerRun, description=__doc__)
    trained = nlp_rnn.train(run, callbacks=[command_line.progress_bar()])
    command_line.print_json({"model": str(trained.folder), "version": str(trained.version), **trained.metrics})


if __name__ == "__main__":
    command_line.run(main)
