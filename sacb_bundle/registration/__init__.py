"""Register images: read, align, predict, warp, measure, write. Nothing here knows studies, MONAI or the command line."""
