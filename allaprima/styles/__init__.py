"""The styles that ship, as data: NAME.onnx (style file), NAME.jpg (thumbnail), NAME.md (model card)."""
