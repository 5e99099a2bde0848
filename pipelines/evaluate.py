"""Measures the newest export of a model on a test set; one JSON object on standard output.

python pipelines/evaluate.py --model saved_models/en-de --test c.en c.de
"""

import nlp_rnn  # what needs TensorFlow is found on first use: wrong flags are told at once
from nlp_rnn import EvaluateRun, command_line


def main() -> None:
    run = command_line.parse(EvaluateRun, description=__doc__)
    metrics = nlp_rnn.evaluate(
        run.model,
        run.data,
        ignore_pattern=run.ignore_pattern,
        predictions=run.predictions,
        pictures=run.pictures,
        batch_size=run.batch_size,
    )
    command_line.print_json(metrics)


if __name__ == "__main__":
    command_line.run(main)
