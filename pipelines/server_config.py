"""Lists all exported models below a folder for TF Serving's --model_config_file.

python pipelines/server_config.py --models saved_models --base-path /models     # writes saved_models/models.config
"""

import nlp_rnn  # what needs TensorFlow is found on first use: wrong flags are told at once
from nlp_rnn import ServerConfigRun, command_line


def main() -> None:
    run = command_line.parse(ServerConfigRun, description=__doc__)
    found = nlp_rnn.write_models_config(run.models, base_path=run.base_path, output=run.output)
    command_line.print_json({"models": found})


if __name__ == "__main__":
    command_line.run(main)
