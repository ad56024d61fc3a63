"""What the directory says has changed, by the change numbers of its entries (``entryCSN``)."""
