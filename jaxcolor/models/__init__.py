"""Networks: U-Net generator and PatchGAN discriminator (Flax Linen, NHWC)."""
