"""Small models with random weights, saved as the real ones are: the code that loads them is the same."""

import json
from pathlib import Path

import torch

WORDS = ["i", "did", "not", "know", "that", "you", "were", "happy", "today", "un", "##believ", "##ably", "kids", "dogs"]


def small_model(kind: str, folder: Path) -> Path:
    """Save a model of a kind (hubert, wav2vec2, whisper, bert, resnet50, vit) into a new folder."""
    import transformers as tf

    convolutions = {"conv_dim": (16,) * 7, "num_conv_pos_embeddings": 16, "num_conv_pos_embedding_groups": 4}
    layers = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
    makers = {
        "hubert": lambda: tf.HubertModel(tf.HubertConfig(**layers, **convolutions)),
        "wav2vec2": lambda: tf.Wav2Vec2Model(tf.Wav2Vec2Config(**layers, **convolutions)),
        "whisper": lambda: tf.WhisperModel(
            tf.WhisperConfig(
                d_model=32,
                encoder_layers=2,
                decoder_layers=1,
                encoder_attention_heads=4,
                decoder_attention_heads=4,
                encoder_ffn_dim=64,
                decoder_ffn_dim=64,
                vocab_size=64,
                pad_token_id=1,
                bos_token_id=2,
                eos_token_id=3,
                decoder_start_token_id=2,
                suppress_tokens=None,
                begin_suppress_tokens=None,
            )
        ),
        "bert": lambda: tf.BertModel(tf.BertConfig(**layers, vocab_size=len(WORDS) + 5, max_position_embeddings=32)),
        "resnet50": lambda: tf.ResNetModel(
            tf.ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="bottleneck")
        ),
        "vit": lambda: tf.ViTModel(tf.ViTConfig(**layers, image_size=32, patch_size=8)),
    }
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        makers[kind]().save_pretrained(folder)
    if kind == "bert":
        _save_tokenizer(folder)
    if kind in ("hubert", "wav2vec2"):
        (folder / "preprocessor_config.json").write_text(json.dumps({"do_normalize": True}))
    return folder


def _save_tokenizer(folder: Path) -> None:
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece

    tokenizer = Tokenizer(WordPiece({word: number for number, word in enumerate(vocabulary)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.save(str(folder / "tokenizer.json"))
    special = {f"{name}_token": f"[{name.upper()}]" for name in ("pad", "unk", "cls", "sep", "mask")}
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 32, **special}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
