"""Writes the next version of a model's SavedModel, with other settings if given.

python pipelines/export.py --model saved_models/en-de --beam-size 8
"""

from dataclasses import asdict

import nlp_rnn  # what needs TensorFlow is found on first use: wrong flags are told at once
from nlp_rnn import ExportRun, command_line


def main() -> None:
    run = command_line.parse(ExportRun, description=__doc__)
    settings = asdict(run)
    version = nlp_rnn.export_model(settings.pop("model"), **settings)
    command_line.print_json({"version": str(version)})


if __name__ == "__main__":
    command_line.run(main)
