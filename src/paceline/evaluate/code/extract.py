"""Code out of an answer."""

import re


def code_of(answer: str, *languages: str) -> str:
    """The last fenced block in one of the languages, else the last fenced block, else the whole answer.

    Thoughts are left out. A block that the end of the answer cuts off counts.
    """
    text = re.sub(r"<think>.*?(</think>|$)", "", answer, flags=re.DOTALL)
    blocks = re.findall(r"```([\w+#-]*)[^\n]*\n(.*?)(?:```|$)", text, re.DOTALL)
    named = [body for language, body in blocks if language.lower() in languages]
    chosen = named or [body for _, body in blocks]
    return str(chosen[-1] if chosen else text).strip("\n")
