"""Competitive-programming problems as families: one statement and one solution each, told with different constants."""

import io
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """`title`, `story`, `idea` and `code` hold {k} where the constant goes; `make` draws an input."""

    title: str
    story: str
    input: str
    output: str
    idea: str
    code: str
    make: Callable[[random.Random, int], str]
    note: str = ""


def numbers(rng: random.Random, k: int, low: int = 1, high: int = 60) -> str:
    count = rng.randint(max(4, k), max(9, k + 3))
    return f"{count}\n{' '.join(str(rng.randint(low, high)) for _ in range(count))}\n"


def one_number(rng: random.Random, k: int) -> str:
    return f"{rng.randint(k + 1, 5000)}\n"


def word(rng: random.Random, k: int) -> str:
    return "".join(rng.choice("abcxyz"[: 2 + k % 5]) for _ in range(rng.randint(5, 14))) + "\n"


ARRAY = "The first line holds n (1 ≤ n ≤ 100000). The second line holds n integers."
ONE = "One line with an integer n (1 ≤ n ≤ 1000000)."
TEXT = "One line with a word of lower-case letters, at most 100000 of them."
READ = "n = int(input())\na = list(map(int, input().split()))\n"

FAMILIES = [
    Family(
        "Tickets of {k}",
        "A cashier stacks tickets with numbers on them. A ticket is lucky if its number is divisible by {k}. What is the sum of the lucky numbers?",
        ARRAY,
        "The sum; 0 if no ticket is lucky.",
        "Go through the numbers once and add those whose remainder modulo {k} is zero. That takes linear time.",
        READ + "print(sum(x for x in a if x % {k} == 0))",
        numbers,
    ),
    Family(
        "Taller than {k}",
        "Trees stand in a row. The forester marks every tree that is taller than {k} metres. How many trees does he mark?",
        ARRAY,
        "The number of marked trees.",
        "Compare each height with {k} and count. Equal heights are not taller, so the comparison is strict.",
        READ + "print(sum(1 for x in a if x > {k}))",
        numbers,
    ),
    Family(
        "The {k} loudest",
        "A choir keeps its {k} loudest singers for the finale. Given how loud each one sings, find the total loudness of the finale.",
        ARRAY + " n is at least {k}.",
        "The sum of the {k} largest values.",
        "Sort in falling order; the first {k} values are the loudest. Sorting takes O(n log n).",
        READ + "a.sort(reverse=True)\nprint(sum(a[:{k}]))",
        numbers,
    ),
    Family(
        "A week of {k} days",
        "On a far planet a week has {k} days. Given the rain of each day, find the largest total rain of {k} days in a row.",
        ARRAY + " n is at least {k}.",
        "The largest sum of {k} consecutive values.",
        "Keep the sum of a window of {k} days. When it moves on, add the new day and take away the one that left. Remember the largest sum.",
        READ
        + "window = best = sum(a[:{k}])\nfor i in range({k}, n):\n    window += a[i] - a[i - {k}]\n    best = max(best, window)\nprint(best)",
        numbers,
    ),
    Family(
        "Digits in base {k}",
        "Merchants count in base {k}. The price of a carpet is n coins. What is the sum of the digits of its price as the merchants write it?",
        ONE,
        "The sum of the digits of n in base {k}.",
        "Divide by {k} again and again; the remainders are the digits. There are only about log n of them.",
        "n = int(input())\ntotal = 0\nwhile n:\n    total += n % {k}\n    n //= {k}\nprint(total)",
        one_number,
    ),
    Family(
        "One in {k} leaves",
        "Children stand in a line. Every child whose place is a multiple of {k} leaves. Print the numbers of those who stay, in order.",
        ARRAY,
        "The numbers that stay, with spaces between them; an empty line if nobody stays.",
        "Places count from one, so the child at index i has the place i + 1. Keep those whose place leaves a remainder modulo {k}.",
        READ + "print(*[x for i, x in enumerate(a, 1) if i % {k}])",
        numbers,
    ),
    Family(
        "Around by {k}",
        "A carousel with n seats turns by {k} seats: who sat in seat i now sits where seat i + {k} was. Print the children in the order of the seats.",
        ARRAY,
        "The numbers after the turn.",
        "Turning by {k} is the same as turning by {k} modulo n. The last part of the list comes to the front.",
        READ + "s = {k} % n\nprint(*(a[n - s:] + a[:n - s]))",
        numbers,
    ),
    Family(
        "Pairs that make {k}",
        "Two coins pay for a bun if their values add up to exactly {k}. In how many ways can you choose two coins that pay for it?",
        ARRAY,
        "The number of pairs.",
        "For each coin, the partner must be {k} minus its value. Count how often each value was seen so far and add that count.",
        READ
        + "seen = {{}}\npairs = 0\nfor x in a:\n    pairs += seen.get({k} - x, 0)\n    seen[x] = seen.get(x, 0) + 1\nprint(pairs)",
        lambda rng, k: numbers(rng, 4, 1, max(2, k - 1)),
    ),
    Family(
        "Steps of {k}",
        "Two stones belong together if their weights differ by exactly {k}. Count the pairs of stones that belong together.",
        ARRAY,
        "The number of pairs.",
        "Count each weight. A pair is a weight w together with w + {k}; multiply how often both occur and add up.",
        "from collections import Counter\n\n"
        + READ
        + "c = Counter(a)\nprint(sum(v * c[w + {k}] for w, v in list(c.items())))",
        lambda rng, k: numbers(rng, 4, 1, 12 + k),
    ),
    Family(
        "Runs of at least {k}",
        "A knitter counts stitches of the same colour in a row. A run is good if it has at least {k} stitches. How many good runs are there?",
        TEXT,
        "The number of maximal runs of equal letters with at least {k} letters.",
        "Group equal neighbours. Each group is a maximal run; count the groups with {k} letters or more.",
        "from itertools import groupby\n\nprint(sum(1 for _, g in groupby(input()) if len(list(g)) >= {k}))",
        lambda rng, k: "".join(rng.choice("ab") * rng.randint(1, k + 2) for _ in range(5)) + "\n",
    ),
    Family(
        "Shifted by {k}",
        "A spy shifts each letter {k} places forward in the alphabet; after z comes a again. Print the shifted word.",
        TEXT,
        "The shifted word.",
        "Turn a letter into its number from 0 to 25, add {k}, take the remainder modulo 26, and turn it back.",
        "print(''.join(chr((ord(c) - 97 + {k}) % 26 + 97) for c in input()))",
        word,
    ),
    Family(
        "The climb with {k}",
        "A climber goes up one or {k} steps at a time. In how many ways can she climb n steps? The number may be large; print it modulo 1000000007.",
        "One line with an integer n (1 ≤ n ≤ 100000).",
        "The number of ways modulo 1000000007.",
        "Let w[i] be the number of ways to reach step i. The last move was one step or {k} steps, so w[i] = w[i-1] + w[i-{k}]. Start with w[0] = 1.",
        "n = int(input())\nw = [1] + [0] * n\nfor i in range(1, n + 1):\n    w[i] = (w[i - 1] + (w[i - {k}] if i >= {k} else 0)) % 1000000007\nprint(w[n])",
        lambda rng, k: f"{rng.randint(k, 40)}\n",
    ),
    Family(
        "Boxes for {k}",
        "A box holds {k} eggs. A farm sends full boxes only and keeps the rest. For the eggs of each day, print how many eggs the farm keeps in all.",
        ARRAY,
        "The sum of what is left over each day.",
        "What is left of x eggs is x modulo {k}. Add that up over the days.",
        READ + "print(sum(x % {k} for x in a))",
        numbers,
    ),
    Family(
        "Nearest multiple of {k}",
        "A tailor cuts cloth in pieces of {k} centimetres only. For a wish of n centimetres find the nearest length he can sell; if two are equally near, the longer one.",
        ONE,
        "The nearest multiple of {k}, the longer one when in doubt.",
        "The multiple below is n - n mod {k}, the one above is {k} more. Compare the two distances.",
        "n = int(input())\nbelow = n - n % {k}\nprint(below if n - below < below + {k} - n else below + {k})",
        one_number,
    ),
    Family(
        "Powers of {k}",
        "How many times can n be divided by {k} without a remainder?",
        ONE,
        "The largest e such that {k} to the power of e divides n.",
        "Divide while the remainder is zero and count. Each division makes n smaller by a factor of {k}, so there are few.",
        "n = int(input())\ne = 0\nwhile n % {k} == 0:\n    n //= {k}\n    e += 1\nprint(e)",
        lambda rng, k: f"{k ** rng.randint(0, 3) * rng.randint(1, 40)}\n",
    ),
    Family(
        "No neighbours within {k}",
        "Concerts may not be less than {k} days apart. Given the income of each day, choose days so that the income is as large as possible.",
        ARRAY,
        "The largest total income.",
        "Let b[i] be the best income of the first i days. Either day i is free, or there was nothing for {k} days before: b[i] = max(b[i-1], b[i-{k}] + a[i]).",
        READ
        + "b = [0] * (n + 1)\nfor i in range(1, n + 1):\n    b[i] = max(b[i - 1], (b[i - {k}] if i >= {k} else 0) + a[i - 1])\nprint(b[n])",
        numbers,
    ),
    Family(
        "At most {k} kinds",
        "A shelf may show at most {k} different kinds of tea. Find the longest stretch of the row that may stand on one shelf.",
        ARRAY,
        "The length of the longest stretch with at most {k} different numbers.",
        "Move the right end on, count the kinds inside, and move the left end while there are more than {k}. Both ends only move forward, so this is linear.",
        READ
        + "count = {{}}\nleft = best = 0\nfor right, x in enumerate(a):\n    count[x] = count.get(x, 0) + 1\n    while len(count) > {k}:\n        count[a[left]] -= 1\n        if not count[a[left]]:\n            del count[a[left]]\n        left += 1\n    best = max(best, right - left + 1)\nprint(best)",
        lambda rng, k: numbers(rng, 6, 1, k + 2),
    ),
    Family(
        "Blocks of {k} letters",
        "A word is cut into blocks of {k} letters; the last one may be shorter. Each block is written backwards. Print the word that results.",
        TEXT,
        "The word with each block reversed.",
        "Take slices of {k} letters at the places 0, {k}, and so on, reverse each and join them.",
        "s = input()\nprint(''.join(s[i:i + {k}][::-1] for i in range(0, len(s), {k})))",
        word,
    ),
]


def run(code: str, text: str) -> str:
    """What a solution prints for an input."""
    before = sys.stdin, sys.stdout
    sys.stdin, sys.stdout = io.StringIO(text), io.StringIO()
    try:
        exec(compile(code, "solution", "exec"), {"__name__": "__main__"})
        return sys.stdout.getvalue()
    finally:
        sys.stdin, sys.stdout = before


def problem_rows(seed: int = 0) -> list[dict]:
    """Rows in the schema of codeforces-cots, every family with twenty constants; every second row has ready messages, the others raw fields only."""
    rng = random.Random(seed)
    rows = []
    for number, family in enumerate(FAMILIES):
        for k in range(2, 22):
            code = family.code.format(k=k)
            inputs = [family.make(rng, k) for _ in range(3)]
            examples = [{"input": text, "output": run(code, text)} for text in inputs]
            told = {
                name: getattr(family, name).format(k=k)
                for name in ("title", "story", "input", "output", "idea")
            }
            answer = f"<think>\n{told['idea']}\n\nCheck with the first example: the program prints {examples[0]['output'].strip() or 'an empty line'}, as it should.\n</think>\n\n```python\n{code}\n```"
            rows.append(
                {
                    "id": f"{number + 1}/{k}",
                    "title": told["title"],
                    "description": told["story"],
                    "input_format": told["input"],
                    "output_format": told["output"],
                    "examples": examples[:2],
                    "note": None
                    if k % 3
                    else f"In the first example the answer is {examples[0]['output'].strip() or 'an empty line'}.",
                    "time_limit": 1.0,
                    "memory_limit": 256.0,
                    "official_tests": [examples[2]],
                    "generation": answer,
                }
            )
    rng.shuffle(rows)
    for place, row in enumerate(rows):
        row["prompt"] = (
            f"Solve this problem in Python.\n\n# {row['title']}\n\n{row['description']}\n\nInput: {row['input_format']}\n\nOutput: {row['output_format']}"
        )
        turns = [
            {"role": "user", "content": row["prompt"]},
            {"role": "assistant", "content": row["generation"]},
        ]
        row["messages"] = turns if place % 2 else None
    return rows
