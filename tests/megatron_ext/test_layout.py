"""Sizes of a layout against numbers worked out by hand, and against the groups that Megatron-Core itself makes of them."""

from types import SimpleNamespace

import pytest

from megatron_ext.layout import RANK_ORDER, ParallelLayout

MODEL = SimpleNamespace(
    model_type="qwen2",
    num_attention_heads=12,
    num_key_value_heads=4,
    vocab_size=96,
    intermediate_size=60,
    num_hidden_layers=12,
)
EXPERTS = SimpleNamespace(
    **vars(MODEL) | {"model_type": "qwen3_moe", "num_experts": 6, "moe_intermediate_size": 20, "vocab_size": 100}
)


def flags(**given) -> SimpleNamespace:
    names = (
        "tensor_parallel_size",
        "pipeline_parallel_size",
        "context_parallel_size",
        "expert_parallel_size",
    )
    sizes = dict.fromkeys(names, 1) | {"virtual_pipeline_parallel_size": None, "sequence_parallel": False}
    return SimpleNamespace(megatron=SimpleNamespace(**sizes | given))


def test_the_flags_make_the_layout():
    assert ParallelLayout.from_args(flags()) == ParallelLayout(1, 1, None, 1, 1, False)
    given = flags(
        tensor_parallel_size=2,
        pipeline_parallel_size=3,
        virtual_pipeline_parallel_size=5,
        context_parallel_size=7,
        expert_parallel_size=11,
        sequence_parallel=True,
    )
    layout = ParallelLayout.from_args(given)
    assert layout == ParallelLayout(
        tensor=2, pipeline=3, virtual_pipeline=5, context=7, expert=11, sequence_parallel=True
    )
    assert layout.describe() == "tensor 2 (sequence parallel), pipeline 3 x 5 chunks, interleaved, context 7, expert 11"
    assert ParallelLayout(tensor=2, pipeline=2).describe() == "tensor 2, pipeline 2, context 1"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"tensor_parallel_size": 0}, "--megatron.tensor_parallel_size is 0, allowed is 1 or more"),
        ({"pipeline_parallel_size": -1}, "--megatron.pipeline_parallel_size is -1, allowed is 1 or more"),
        ({"context_parallel_size": 0}, "--megatron.context_parallel_size is 0, allowed is 1 or more"),
        ({"expert_parallel_size": 0}, "--megatron.expert_parallel_size is 0, allowed is 1 or more"),
        (
            {"pipeline_parallel_size": 2, "virtual_pipeline_parallel_size": 0},
            "--megatron.virtual_pipeline_parallel_size is 0, allowed is 1 or more",
        ),
        (
            {"pipeline_parallel_size": 2, "virtual_pipeline_parallel_size": 1},
            "--megatron.virtual_pipeline_parallel_size is 1 with --megatron.pipeline_parallel_size 2; the interleaved schedule needs 2",
        ),
        (
            {"virtual_pipeline_parallel_size": 2},
            "--megatron.virtual_pipeline_parallel_size is 2 with --megatron.pipeline_parallel_size 1",
        ),
        (
            {"sequence_parallel": True},
            "--megatron.sequence_parallel is set with --megatron.tensor_parallel_size 1; it splits tokens over the tensor parallel ranks",
        ),
    ],
)
def test_sizes_that_cannot_be_are_refused(given, says):
    with pytest.raises(ValueError) as error:
        ParallelLayout.from_args(flags(**given))
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("layout", "replica", "world", "copies", "row"),
    [
        (ParallelLayout(), 1, 3, 3, 1),
        (ParallelLayout(tensor=2), 2, 8, 4, 1),
        (ParallelLayout(tensor=2, sequence_parallel=True), 2, 2, 1, 2),
        (ParallelLayout(context=2), 2, 6, 3, 4),
        (ParallelLayout(context=3, tensor=2, pipeline=2), 12, 24, 2, 6),
        (ParallelLayout(context=2, tensor=4, sequence_parallel=True), 8, 8, 1, 16),
        (ParallelLayout(pipeline=3, virtual_pipeline=2), 3, 9, 3, 1),
        (ParallelLayout(tensor=2, pipeline=2, expert=2), 4, 8, 2, 1),
    ],
)
def test_ranks_of_a_copy_copies_and_rows(layout, replica, world, copies, row):
    assert (layout.replica, layout.data_parallel(world), layout.row_multiple) == (replica, copies, row)


def test_rows_are_padded_to_the_next_multiple():
    layout = ParallelLayout(context=2, tensor=2, sequence_parallel=True)
    assert [layout.padded(n) for n in (1, 7, 8, 9, 64)] == [8, 8, 8, 16, 64]


@pytest.mark.parametrize(
    ("layout", "tensor", "context", "pipeline", "data"),
    [
        # By hand: tensor parallel ranks are neighbours, a copy of the model is contiguous.
        (
            ParallelLayout(tensor=2, pipeline=2),
            [[0, 1], [2, 3], [4, 5], [6, 7]],
            [[i] for i in range(8)],
            [[0, 2], [1, 3], [4, 6], [5, 7]],
            [[0, 4], [1, 5], [2, 6], [3, 7]],
        ),
        (
            ParallelLayout(context=2, pipeline=2),
            [[i] for i in range(8)],
            [[0, 1], [2, 3], [4, 5], [6, 7]],
            [[0, 2], [1, 3], [4, 6], [5, 7]],
            [[0, 4], [1, 5], [2, 6], [3, 7]],
        ),
        (
            ParallelLayout(tensor=2, context=2, pipeline=2),
            [[0, 1], [2, 3], [4, 5], [6, 7]],
            [[0, 2], [1, 3], [4, 6], [5, 7]],
            [[0, 4], [1, 5], [2, 6], [3, 7]],
            [[i] for i in range(8)],
        ),
    ],
)
def test_megatron_makes_these_groups_of_8_ranks(layout, tensor, context, pipeline, data):
    ranks = generator(layout, 8, RANK_ORDER)
    assert [ranks.get_ranks(name) for name in ("tp", "cp", "pp", "dp")] == [tensor, context, pipeline, data]
    copies = ranks.get_ranks("tp-cp-pp")
    first = range(0, 8, layout.replica)
    assert copies == [list(range(i, i + layout.replica)) for i in first]
    if layout.data_parallel(8) > 1:
        # Megatron-Core's own order is another one: OpenRLHF would send the two halves of a copy different responses.
        assert generator(layout, 8, "tp-cp-ep-dp-pp").get_ranks("tp-cp-pp") != copies


@pytest.mark.parametrize(
    ("layout", "world", "ranks_of_an_expert"),
    [
        (ParallelLayout(expert=2), 2, 1),
        (ParallelLayout(tensor=2, expert=2), 4, 2),
        (ParallelLayout(context=2, expert=2), 2, 1),
        (ParallelLayout(context=2, expert=4), 4, 1),
        (ParallelLayout(tensor=2, pipeline=2, expert=2), 4, 1),
        (ParallelLayout(tensor=4, pipeline=2, expert=2), 16, 2),
        (ParallelLayout(tensor=2, context=2, pipeline=2, expert=4), 8, 1),
        (ParallelLayout(tensor=2, context=2, pipeline=2), 8, 4),
    ],
)
def test_experts_have_the_same_pipelines_as_the_other_layers(layout, world, ranks_of_an_expert):
    assert layout.expert_tensor == ranks_of_an_expert
    layout.check_world(world)
    expert_data = world // (ranks_of_an_expert * layout.expert * layout.pipeline)
    assert expert_data * ranks_of_an_expert * layout.expert * layout.pipeline == world
    experts = generator(layout, world, RANK_ORDER, tp=ranks_of_an_expert, ep=layout.expert, dp=expert_data, cp=1)
    # Megatron-Core asserts the same when it makes its groups.
    assert experts.get_ranks("pp") == generator(layout, world, RANK_ORDER).get_ranks("pp")


def generator(layout: ParallelLayout, world: int, order: str, **sizes):
    from megatron.core.parallel_state import RankGenerator

    dense = {"tp": layout.tensor, "ep": 1, "pp": layout.pipeline, "cp": layout.context}
    return RankGenerator(**dense | {"dp": layout.data_parallel(world), "order": order} | sizes)


@pytest.mark.parametrize(
    ("layout", "world", "says"),
    [
        (
            ParallelLayout(tensor=2, pipeline=2),
            6,
            "--actor.num_nodes x --actor.num_gpus_per_node is 6, which is not a multiple of tensor x context x pipeline parallel size, "
            "2 x 1 x 2 = 4",
        ),
        (
            ParallelLayout(context=4),
            2,
            "is 2, which is not a multiple of tensor x context x pipeline parallel size, 1 x 4 x 1 = 4",
        ),
        (
            ParallelLayout(tensor=2, expert=3),
            4,
            "--megatron.expert_parallel_size is 3, but there are 2 data x 1 context parallel ranks = 2; allowed is a divisor",
        ),
        (
            # The data parallel ranks do not help: an expert stays within one stage of one copy.
            ParallelLayout(tensor=2, pipeline=2, expert=4),
            16,
            "--megatron.expert_parallel_size is 4 with --megatron.pipeline_parallel_size 2; with pipeline stages experts spread over one "
            "stage of one replica, tensor 2 x context 1 = 2 ranks; allowed is a divisor",
        ),
    ],
)
def test_ranks_that_do_not_come_out_even_are_refused(layout, world, says):
    with pytest.raises(ValueError) as error:
        layout.check_world(world)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "layout",
    [
        ParallelLayout(),
        ParallelLayout(tensor=2),
        ParallelLayout(tensor=4, pipeline=12),
        ParallelLayout(pipeline=2, virtual_pipeline=3),
        ParallelLayout(pipeline=4, virtual_pipeline=3, context=5),
    ],
)
def test_models_that_can_be_cut(layout):
    layout.check_model(MODEL)


@pytest.mark.parametrize(
    ("layout", "model", "says"),
    [
        (
            ParallelLayout(tensor=5),
            MODEL,
            "num_attention_heads is 12, which is not a multiple of --megatron.tensor_parallel_size, 5",
        ),
        (
            ParallelLayout(tensor=3),
            MODEL,
            "num_key_value_heads is 4, which is not a multiple of --megatron.tensor_parallel_size, 3",
        ),
        (
            ParallelLayout(tensor=4),
            SimpleNamespace(**vars(MODEL) | {"vocab_size": 98}),
            "vocab_size is 98, which is not a multiple of --megatron.tensor_parallel_size, 4",
        ),
        (
            ParallelLayout(tensor=4),
            SimpleNamespace(**vars(MODEL) | {"intermediate_size": 30}),
            "intermediate_size is 30, which is not a multiple of --megatron.tensor_parallel_size, 4",
        ),
        (
            ParallelLayout(pipeline=5),
            MODEL,
            "num_hidden_layers is 12, which is not a multiple of --megatron.pipeline_parallel_size, 5",
        ),
        (
            ParallelLayout(pipeline=4, virtual_pipeline=2),
            MODEL,
            "num_hidden_layers is 12, which is not a multiple of --megatron.pipeline_parallel_size x "
            "--megatron.virtual_pipeline_parallel_size, 8",
        ),
        (
            ParallelLayout(expert=2),
            MODEL,
            "--megatron.expert_parallel_size is 2, but the model (qwen2) has no experts; allowed is 1",
        ),
        (
            ParallelLayout(expert=4),
            EXPERTS,
            "num_experts is 6, which is not a multiple of --megatron.expert_parallel_size, 4",
        ),
        (
            ParallelLayout(tensor=4, pipeline=2, context=2),
            EXPERTS,
            "moe_intermediate_size is 20, which is not a multiple of the 8 ranks that share an expert",
        ),
        (
            ParallelLayout(tensor=2),
            EXPERTS,
            "--megatron.tensor_parallel_size is 2 and the model has experts; Megatron-Core trains them with --megatron.sequence_parallel",
        ),
    ],
)
def test_models_that_cannot_be_cut_so_are_refused_with_the_numbers(layout, model, says):
    with pytest.raises(ValueError) as error:
        layout.check_model(model)
    assert says in str(error.value)
    assert "\n" not in str(error.value)


def test_a_mixture_of_experts_that_can_be_cut():
    cut = {"tensor": 2, "sequence_parallel": True}
    for layout in (ParallelLayout(expert=3), ParallelLayout(**cut), ParallelLayout(**cut, pipeline=2, expert=2)):
        layout.check_model(EXPERTS)
