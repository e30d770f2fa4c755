"""The room multiverse."""

from __future__ import annotations

import streamlit as st

st.html("multiverse")
