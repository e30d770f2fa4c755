def addressed(text, speaker, cast, previous, present):
    return ("", "none")
