"""Register images: read, align, predict, warp, measure and write, without studies, MONAI or the command line."""
