"""The suite's corruptions: catalogues of images, texts and tables, and the functions they name."""
