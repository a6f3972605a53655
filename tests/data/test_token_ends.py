"""Where an answer begins and ends in tokens, with tokenizers that treat white space in ways of their own.

What comes before an answer is held to the ids of its generation prompt, what is learned to its text.
"""

import json
from collections.abc import Callable
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from paceline.data.chat import Chat, load_tokenizer
from paceline.data.encoding import encode
from paceline.data.formats import Conversation, read_turns
from paceline.errors import DataError

TALK = [
    {"role": "user", "content": "Say hi"},
    {"role": "assistant", "content": "there it is"},
    {"role": "user", "content": "And?"},
    {"role": "assistant", "content": "Bye now"},
]
# Turns without anything between them, or with a line's end; with and without a mark for the end of all.
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content + '<|im_end|>' }}"
    "{% if not loop.last or add_generation_prompt %}{{ '\n' }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
PLAIN = (
    "{% for m in messages %}{{ m.role + ': ' + m.content }}"
    "{% if m.role == 'assistant' %}<|im_end|>{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
PHI = (
    "{% for m in messages %}{{ '<|' + m.role + '|>' + LINE + m.content + '<|end|>' + LINE }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' + LINE }}{% else %}{{ '<|endoftext|>' }}{% endif %}"
)
COHERE = (
    "{% for m in messages %}{{ '<|turn|>' }}{% if m.role == 'user' %}{{ '<|user|>' + m.content }}{% else %}"
    "{{ '<|assistant|><|answer|>' + m.content + '<|/answer|>' }}{% endif %}{{ '<|end|>' }}{% endfor %}"
    "<|turn|><|assistant|>"
)
AFTER_A_TURN = "<|turn|><|system|>be kind<|end|>" + COHERE.replace(
    "<|turn|><|assistant|>", "{% if add_generation_prompt %}<|turn|><|assistant|>{% endif %}"
)
BETWEEN = "{% if not loop.last or add_generation_prompt %}{{ '\n' }}{% endif %}"
MARKS = ["<|system|>", "<|user|>", "<|assistant|>", "<|end|>", "<|turn|>", "<|answer|>", "<|/answer|>"]


def tokenizer_with(
    template: str, change: Callable[[Any], None] = lambda state: None, **flags: bool
) -> PreTrainedTokenizerBase:
    """The embedded tokenizer with more marks, its state changed, under another template."""
    state = json.loads(load_tokenizer("embedded").backend_tokenizer.to_str())
    change(state)
    backend = Tokenizer.from_str(json.dumps(state))
    backend.add_special_tokens([AddedToken(mark, normalized=False, **flags) for mark in MARKS])
    made = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|endoftext|>", pad_token="<|endoftext|>"
    )
    made.chat_template = template
    return made


def reads_to_the_right(state: Any) -> None:
    for token in state["added_tokens"]:
        token["rstrip"] = True


def trims(state: Any) -> None:
    state["post_processor"] = {
        "type": "ByteLevel",
        "add_prefix_space": False,
        "trim_offsets": True,
        "use_regex": True,
    }


def with_line_ends(template: str) -> PreTrainedTokenizerBase:
    made = tokenizer_with(template)
    made.add_tokens(["\n", "\n\n"])
    return made


def sentencepiece(template: str) -> PreTrainedTokenizerBase:
    """A tokenizer that writes a space before a text, as those of Llama 2 and Mistral 7B."""
    words = "USER: Say hi there it is ASSISTANT: And? Bye now positive negative this film good"
    backend = Tokenizer(models.BPE(byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    letters = [f"<0x{byte:02X}>" for byte in range(256)]
    marks = ["<unk>", "<s>", "</s>", *letters]
    trainer = trainers.BpeTrainer(vocab_size=600, special_tokens=marks, show_progress=False)
    backend.train_from_iterator([words] * 50, trainer)
    backend.pre_tokenizer = None
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    made = PreTrainedTokenizerFast(tokenizer_object=backend, bos_token="<s>", eos_token="</s>")
    made.chat_template = template
    return made


SPACED = (
    "{% for m in messages %}{% if m.role == 'user' %}{{ 'USER: ' + m.content + ' ASSISTANT: ' }}"
    "{% else %}{{ m.content + '</s>' }}{% endif %}{% endfor %}"
)
CASES = {
    "marks that take white space along": (tokenizer_with(CHATML, reads_to_the_right), "<|im_end|>", 1),
    "the same in Phi 3's manner": (tokenizer_with(PHI.replace("LINE", "'\n'"), rstrip=True), "<|end|>", 1),
    "Phi 4's, with a mark after all": (tokenizer_with(PHI.replace(" + LINE", "")), "<|end|>", 1),
    "offsets without white space": (tokenizer_with(PLAIN, trims), "<|im_end|>", 2),
    "offsets with it": (tokenizer_with(PLAIN), "<|im_end|>", 2),
    "two marks after an answer": (tokenizer_with(COHERE), "<|/answer|><|end|>", 1),
    "two marks, after a turn": (tokenizer_with(AFTER_A_TURN), "<|/answer|><|end|>", 1),
    "line ends as Gemma has them": (with_line_ends(CHATML.replace(BETWEEN, "{{ '\n' }}")), "<|im_end|>", 1),
    "a space before each text": (sentencepiece(SPACED), "</s>", 2),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_an_answer_and_its_end_are_learned_after_the_prompt_that_inference_gives(case: str) -> None:
    tokenizer, end, count = CASES[case]
    chat = Chat(tokenizer)
    (one,) = encode(chat, [read_turns(TALK)])
    assert not isinstance(one, DataError)
    assert len(one.examples) == count, "one text, or one for each answer where tokens run over a prompt's end"
    assert not one.notes
    assert chat.ending == end
    found = []
    for example in one.examples:
        ids, mask = example.ids.tolist(), example.mask.tolist()
        for start in [at for at in range(len(ids)) if mask[at] and not mask[at - 1]]:
            stop = next((at for at in range(start, len(ids)) if not mask[at]), len(ids))
            found.append((ids[:start], ids[start:stop]))
    asked = [
        tokenizer.apply_chat_template(TALK[:n], tokenize=False, add_generation_prompt=True) for n in (1, 3)
    ]
    assert [before for before, _ in found] == [
        tokenizer(text, add_special_tokens=False)["input_ids"] for text in asked
    ]
    opening = "<|answer|>" if "<|answer|>" in tokenizer.chat_template else ""
    said = [tokenizer.decode(own).strip() for _, own in found]
    assert said == [f"{opening}{answer}{end}" for answer in ("there it is", "Bye now")]


def test_text_begins_with_all_that_its_tokenizer_puts_before_it() -> None:
    tokenizer = tokenizer_with(CHATML)
    first = [(mark, tokenizer.get_vocab()[mark]) for mark in ("<|turn|>", "<|user|>")]
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<|turn|> <|user|> $A", special_tokens=first
    )
    for text in ("Hello there", "<|turn|><|user|>Hello there"):
        (one,) = encode(Chat(tokenizer), [Conversation([], (), text=text)])
        assert not isinstance(one, DataError)
        ids = tokenizer(f"{text}<|endoftext|>", add_special_tokens="turn" not in text)["input_ids"]
        assert one.examples[0].ids.tolist() == ids
        assert int(one.examples[0].mask.sum()) == len(ids) - (0 if "turn" in text else 2)
