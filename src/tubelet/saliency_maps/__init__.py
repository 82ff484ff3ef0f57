"""Where a saliency map comes from: text, motion, flow, attention, the truth, noise, or files of your own."""
