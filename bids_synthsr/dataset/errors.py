"""The errors for whoever started the program."""


class DatasetError(ValueError):
    """The input cannot be used as asked; every line of the message is a fault and its way out."""


class FailedExamError(ValueError):
    """An exam cannot be processed, although the program was used as it should be."""
