"""x"""


def profile(bench):
    pass
