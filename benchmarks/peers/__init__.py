"""Other ways to train pix2pix, written to be compared with: same networks, losses and update."""
