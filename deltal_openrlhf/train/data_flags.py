"""Flags about data that are wrong whatever the rows are. Reads no data."""

import math
from pathlib import Path

from deltal_openrlhf.arguments import Arguments
from deltal_openrlhf.runs.faults import Faults

FLAGS = {"data.prompt_dataset": "data.prompt_split", "eval.dataset": "eval.split"}
"""The flag that names data sets, and that of their split."""
IMAGE_KEY = "images"
"""The host's default of --data.image_key."""


def check_data_flags(args: Arguments) -> None:
    """Raise Refused, a ValueError, for values with which the host would fail, or drop what it was told, once Ray has started."""
    faults = Faults()
    if args.data.max_samples < 1:
        faults.add(ValueError(f"--data.max_samples is {args.data.max_samples}, allowed is 1 or more"))
    with faults.gathered():
        _check_template(args.data.input_template)
    with faults.gathered():
        _check_probabilities(args)
    if args.deltal.skip_long_prompts and args.data.max_images_per_prompt:
        faults.add(
            ValueError(
                "--deltal.skip_long_prompts counts the tokens of text, but --data.max_images_per_prompt is "
                f"{args.data.max_images_per_prompt}; allowed is 0"
            )
        )
    if args.train.dynamic_batch_enable and args.data.max_images_per_prompt:
        faults.add(  # the host refuses packing where it is asked for, and turns it on afterwards
            ValueError(
                f"--train.dynamic_batch_enable packs responses, but --data.max_images_per_prompt is {args.data.max_images_per_prompt}; "
                "OpenRLHF packs only text, so leave the former out"
            )
        )
    if args.data.image_key != IMAGE_KEY and not args.data.max_images_per_prompt:
        faults.add(
            ValueError(
                f"--data.image_key is {args.data.image_key}, but --data.max_images_per_prompt is 0; allowed with images is 1 or more"
            )
        )
    faults.refuse()


def names_of(args: Arguments, flag: str) -> list[str]:
    """The data sets that a flag names."""
    given = args.data.prompt_dataset if flag == "data.prompt_dataset" else args.eval.dataset
    return [name.strip() for name in (given or "").split(",") if name.strip()]


def path_of(name: str) -> Path:
    """The path without an @FOLDER, which names the folder of a data set on the hub."""
    return Path(name.split("@")[0].strip())


def is_path(name: str) -> bool:
    """Whether a name can only be that of a folder or a file here: a name of the hub is OWNER/NAME, or NAME."""
    return name.startswith(("/", "./", "../", "~")) or name.endswith("/") or name.count("/") > 1


def _check_template(template: str | None) -> None:
    if not template:
        return
    allowed = "allowed is one {} for the prompt; braces that stay are doubled, as in \\boxed{{}}"
    if "{}" not in template:
        raise ValueError(
            f"--data.input_template is {template!r}, without {{}}, so that OpenRLHF would drop it; {allowed}"
        )
    try:
        template.format("prompt")
    except (IndexError, KeyError, ValueError) as error:
        why = "it has more than one {}" if isinstance(error, IndexError) else f"Python cannot fill it in ({error})"
        raise ValueError(f"--data.input_template is {template!r}: {why}; {allowed}") from None


def _check_probabilities(args: Arguments) -> None:
    given = args.data.prompt_probs
    if given is None:
        return
    sets = len((args.data.prompt_dataset or "").split(","))
    try:
        shares = [float(share) for share in given.split(",")]
    except ValueError:
        shares = []
    # A share of 0 never ends: the host draws until every set has been used up.
    fits = len(shares) == sets and all(share > 0 for share in shares) and math.isclose(sum(shares), 1, abs_tol=1e-8)
    if not fits:
        raise ValueError(
            f"--data.prompt_probs is {given}, --data.prompt_dataset names {sets} {'set' if sets == 1 else 'sets'}; allowed is one number "
            "above 0 for each set, with a sum of 1"
        )
