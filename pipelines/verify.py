"""Checks an export: its weights, parity, batch invariance, portability and edge inputs. Exit status 1: not passed.

python pipelines/verify.py --model saved_models/en-de
python pipelines/verify.py --model saved_models/en-de --version 3 --json
"""

import sys
from dataclasses import asdict

import nlp_rnn  # what needs TensorFlow is found on first use: wrong flags are told at once
from nlp_rnn import VerifyRun, command_line


def main() -> None:
    run = command_line.parse(VerifyRun, description=__doc__)
    verification = nlp_rnn.verify(run.model, version=run.version, python=run.python)
    if run.json:
        command_line.print_json({"passed": verification.passed, **asdict(verification)})
    else:
        print(verification.report())
    if not verification.passed:
        sys.exit(1)


if __name__ == "__main__":
    command_line.run(main)
