"""The host's policy worker as Ray starts it, with its own loading and saving: stopped and resumed, it exports the same average."""

import json

import pytest
from support.host_arguments import host_arguments

from deltal_openrlhf.parity import Case, run_on_ranks
from deltal_openrlhf.parity.cases import VOCABULARY

SIZES = """--actor.num_gpus_per_node 1 --rollout.n_samples_per_prompt 4 --rollout.batch_size 4 --train.batch_size 8
    --train.micro_batch_size 2 --data.max_len 48 --rollout.max_new_tokens 24 --loss_agg deltal --algo.advantage.estimator
    group_norm --algo.kl.init_coef 0 --actor.adam.lr 1e-2 --train.enable_ema --train.ema_beta 0.9 --ds.zero_stage 3
    --ds.attn_implementation sdpa --vllm.sync_backend gloo --train.num_episodes 2""".split()
PLANNED = 4


def worker(folder, out, *flags):
    """A worker that has its model. Ray's part of it is not needed."""
    from deltal_openrlhf.host.actor import DeltaLPolicyModelActor
    from deltal_openrlhf.host.strategy import DeltaLStrategy

    where = (
        f"--actor.model_name_or_path {folder}/model --ckpt.path {folder}/ckpt --ckpt.output_dir {folder}/{out}".split()
    )
    args = host_arguments(*SIZES, *where, *flags)
    # As the host and the start set them once all flags are read.
    args.actor.eps_clip_low_high, args.critic.model_name_or_path = (0.2, 0.2), None
    args.deltal.data, args.deltal.resumed = None, "global_step1" if args.ckpt.load_enable else None
    sizes = {"micro_train_batch_size": args.train.micro_batch_size, "train_batch_size": args.train.batch_size}
    strategy = DeltaLStrategy(seed=args.train.seed, zero_stage=args.ds.zero_stage, args=args, **sizes)
    made = object.__new__(DeltaLPolicyModelActor)
    made.init_model_from_pretrained(strategy, args.actor.model_name_or_path, PLANNED, None)
    made.trainer.dataloader_pin_memory = False
    return made


def step(made):
    from deltal_openrlhf.parity.host_update import experiences

    for sample in experiences(Case()):
        made.trainer.replay_buffer.append(sample)
    return made.fit(0.0)["actor_lr"]


def export(made):
    from safetensors.torch import load_file

    made.save_model()
    return load_file(f"{made.strategy.args.ckpt.output_dir}/model.safetensors")


def stopped_and_resumed(rank, folder):
    import os

    from safetensors.torch import load_file
    from tokenizers import Regex, pre_tokenizers

    from deltal_openrlhf.host import finished
    from deltal_openrlhf.models.tiny import write_tiny_model

    words = ["<pad>", "<eos>", "<unk>", *map(chr, range(0x4E00, 0x4E00 + VOCABULARY - 3))]
    write_tiny_model(f"{folder}/model", words, pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated"))
    first = worker(folder, "whole")
    step(first)
    first.save_checkpoint("global_step1", {"global_step": 1})
    rates = [step(first)]
    whole = export(first)
    again = worker(folder, "resumed", "--ckpt.load_enable")
    rates.append(step(again))
    resumed = export(again)
    model = load_file(f"{folder}/model/model.safetensors")

    def apart(one, other):
        return max((one[name].float() - other[name].float()).abs().max().item() for name in one)

    return {
        "states": again.get_checkpoint_states()["global_step"],
        "apart": apart(whole, resumed),
        "moved": apart(whole, model),
        "rates": rates,
        "saved": sorted(
            set(os.listdir(f"{folder}/ckpt/_actor/global_step1")) & {"run.json", "deltal.json", "ema.safetensors"}
        ),
        "run": json.load(open(f"{folder}/ckpt/_actor/global_step1/run.json")),
        "finished": finished.is_finished(again.strategy.args),
    }


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    return run_on_ranks(1, stopped_and_resumed, str(tmp_path_factory.mktemp("worker")), timeout=280)[0]


def test_it_exports_the_average_of_the_uninterrupted_run(found):
    assert found["states"] == 1
    assert found["apart"] == 0 and found["moved"] > 1e-3
    assert found["rates"][0] == found["rates"][1] == pytest.approx(1e-3)  # the least rate, after all planned steps


def test_its_checkpoint_says_what_a_resumed_run_has_to_share(found):
    assert found["saved"] == ["deltal.json", "ema.safetensors", "run.json"]
    assert found["run"]["optimizer"]["actor.adam.lr"] == 1e-2
    assert found["run"]["fixed"]["--ds.zero_stage"] == 3
    assert found["run"]["length"]["train.num_episodes"] == 2
    assert found["finished"]
