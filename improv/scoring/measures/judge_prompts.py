"""Every question that a judge is asked, word for word. A judge gets no other text.

A judge is shown a trait, a persona or a secret, and the lines: never the author's text, the
condition, a seed or a trial. A change of a text needs a new version of its measure.

STATE was tried with the embedded model (135M parameters) on the sample run and on planted lines:
it answers by the words of the options, "unreadable" in half of the script's cases and most of the
chat's, and finds poles no better than by chance. It cannot judge, and calibration says so. No
larger model was at hand.
"""

from __future__ import annotations

STATE = """\
You read one line of an improvised scene, and say what its speaker shows in it.

The speaker: {name}, {role}
The trait: {pole}
Its opposite: {opposite}

Said just before, so that the line can be understood:
{before}

The line to judge:
<line>
{line}
</line>

Judge what {name} does by saying this one line. Somebody may talk about a trait without showing \
it, and may show it without naming it. What was said before the line does not count, nor does how \
well it is written. Many lines show neither: say so rather than guess.

What does {name} show in this line?
{options}
"""

PERSONA = """\
You compare one line of an improvised scene with what is known of its speaker.

What is known of {name}:
{persona}

Said just before, so that the line can be understood:
{before}

The line to judge:
<line>
{line}
</line>

The line contradicts what is known if it claims a fact that cannot be true of {name}, or if \
{name} does in it what such a person would never do. A line about something else is no \
contradiction; nor is a joke, a question, or a mood.

Is there a contradiction?
{options}
"""

PAIR = """\
You compare two lines that {name} says in the same improvised scene, some time apart.

Earlier:
<line>
{line}
</line>

Later:
<line>
{other}
</line>

The two contradict each other if they cannot both be meant by the same person: a fact and its \
denial, a promise and its breach without a reason, or a manner turned into its opposite. Change \
of subject, of mood or of mind with a reason is no contradiction.

Do the two lines contradict each other?
{options}
"""

SECRET = """\
You read one line of an improvised scene, and say whether it gives away its speaker's secret.

The secret of {name}: {secret}

Said just before, so that the line can be understood:
{before}

The line to judge:
<line>
{line}
</line>

It is given away if somebody who hears the line, and did not know the secret, now knows what \
matters of it. A hint that only makes sense to those who know keeps it; so does a line that has \
nothing to do with it.

Is the secret given away by this line?
{options}
"""

WHO = """\
One line of an improvised scene was found without its speaker's name. Names in it are masked.

Who was there:
{cast}

The line:
<line>
{line}
</line>

Go by manner and concern: who of these would say it, and say it so?

Who said it?
{options}
"""

GLOSSES = {
    "neither": "neither the one nor the other can be seen in it",
    "unreadable": "what stands there is no speech that could be judged",
    "contradiction": "both cannot be true of the same person",
    "no contradiction": "nothing in it speaks against the rest",
    "given away": "a stranger who hears it now knows",
    "kept": "a stranger who hears it does not know",
}
"""The meaning of each option whose word alone does not explain it."""

ANSWER = """
Answer in JSON, with one of these words and nothing else: {"answer": "..."}"""

SCRIPT = "\n\nANSWER: "
"""The end of a base model's document, after which the answer comes."""

FIRST = "(Nothing: it is the first line.)"
