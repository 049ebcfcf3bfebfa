"""Data sets as they are downloaded, a module for each, and their preparation for training."""

# Module of each data set by its name, imported when it is prepared.
DATASETS = {"ixi": "ixi", "lpba40": "lpba40", "abdomen-ct": "abdomen_ct", "oasis": "oasis", "folder": "folder"}
