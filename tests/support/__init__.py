"""What tests share: models, a calibrated detector, images, servers."""
