"""A short YAML example of each class of scene and study files.

tests/repo/test_reference.py reads each example as the class of that name.
"""

from __future__ import annotations

EXAMPLES = {
    "Scene": """
title: The Last Ferry
premise: The ferry has left without them. The next one goes at dawn.
place: A quay on an island
world: [Nobody can swim., The café is closed.]
cast:
  - {name: Mara, role: "a pilot, 52"}
  - {name: Ben, role: "her nephew, 19, with a suitcase"}
turns: 8
order: addressed
model: gpt-4.1-mini
""",
    "Rule": """
says: Nobody says the word "bridge".
marker: never_says
value: [bridge, bridges]
enforced: filter
redraws: 4
""",
    "Beat": """
turn: 4
text: The lamp on the quay goes out.
""",
    "CharacterSpec": """
name: Mara
role: a pilot, 52
card: She has crossed these straits for thirty years and trusts nobody who whistles.
goal: To get everybody home before the storm.
secret: Her licence ran out in spring.
traits:
  - {pole: honest, opposite: deceitful, kind: moral}
samples: [Sit down. It rocks less when you are quiet.]
aliases: [Captain]
""",
    "Trait": """
pole: polite
opposite: rude
kind: neutral
sign: {marker: says_any, value: [please, thank you, excuse me]}
""",
    "Sign": """
marker: at_most_words
value: 12
""",
    "Habit": """
says: She never asks a question.
marker: never_asks
""",
    "Model": """
model: gpt-4.1-mini
temperature: 0.8
max_tokens: 60
price: {prompt: 0.4, completion: 1.6}
""",
    "Price": """
prompt: 0.4
completion: 1.6
cached: 0.1
""",
    "Puppet": """
alpha: 0.1
beta: 0.3
effects: {About the author: -0.6}
pole: [Excuse me, I keep my word.]
opposite: [Never mind what I said.]
judge: {sensitivity: 0.9, specificity: 0.95}
""",
    "Choice": """
options: [a key, a bell, a coin]
says: I am holding {}.
when: What do you hold?
""",
    "LeakSpec": """
says: My licence ran out in spring.
chance: 0.05
when: licence
""",
    "Fact": """
says: The café closes at nine.
question: When does the café close?
answer: At nine.
options: [At eight., At nine., At ten.]
""",
    "Judging": """
sensitivity: 0.9
specificity: 0.95
""",
    "Opening": """
who: Ben
line: Was that our ferry?
""",
    "EventSpec": """
turn: 5
direction: A second boat comes into sight.
enter: [Ilse]
""",
    "Envelope": """
of: Mara
ask: What do you hold in your hand? Name one thing.
kept: own
options: [a key, a bell, a coin]
""",
    "AuthorSpec": """
name: Ada Quill
frame: Ada Quill writes people who stay who they are, whatever happens to them.
live: true
brief: Keep each of them to what they are. Whisper a note when somebody slips.
knows: [transcript, cards, secrets]
may: [note, cue]
every: 3
""",
    "Context": """
name: Ada Quill
frame: Ada Quill writes people who stay who they are, whatever happens to them.
""",
    "Planned": """
move: redemption
on_break_of: Mara
within: 10
""",
    "NoteSample": """
to: Mara
note: You are more tired than you show.
""",
    "StudyFile": """
study: two-authors
question: Does an author in the frame keep characters to what they are?
scenes: [night-bus, parlour]
set: {turns: 8}
factors:
  author:
    none: {author: {frame: "", live: false}}
    text: {author: {live: false}}
replicates: 20
""",
    "Branching": """
name: after the lie
at: [4]
arms:
  as it was: {}
  a hint: {move: Somebody coughs.}
draws: 5
turns: 3
""",
    "Edit": """
line: I have never been to this island.
memory: {Ben: Mara has promised to wait.}
""",
    "Regeneration": """
at: [2, 6, 10]
draws: 9
""",
    "Probe": """
name: licence
of: Mara
ask: Is your licence valid?
expect: ["no", expired, ran out]
at: every
""",
    "Plan": """
hypothesis: With an author in the frame, a smaller share of lines breaks a trait.
outcome: {of: broken, measure: sign}
contrasts:
  - {name: text against none, plus: {author: text}, minus: {author: none}}
controls:
  - name: placebo is none
    equivalence: {plus: {author: placebo}, minus: {author: none}, margin: 0.04}
blocks: 40
""",
    "Outcome": """
of: recovered
measure: sign
of_whom: Mara
within: 3
""",
    "ContrastSpec": """
name: text against none
plus: {author: text}
minus: {author: none}
""",
    "Control": """
name: placebo is none
equivalence: {plus: {author: placebo}, minus: {author: none}, margin: 0.04}
""",
    "EquivalenceSpec": """
plus: {author: placebo}
minus: {author: none}
margin: 0.04
""",
    "ChanceSpec": """
measure: probe
where: {memory: nothing}
is: 0.25
margin: 0.1
""",
    "Bound": """
where: {rule: filter}
at_most: 0.01
measure: rule
""",
    "Unmoved": """
where: {copies: one}
within: 0.1
""",
    "Flat": """
margin: 0.01
""",
    "Exclusions": """
missing_above: 0.02
""",
    "LooksSpec": """
every: 12
""",
}
"""Class name → YAML."""
